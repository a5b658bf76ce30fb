package deliver

import (
	"testing"
	"time"
)

func TestSetDefaults_LongRequestTimeoutIsNotCutShortByThatOfTheHeader(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		0: DefaultHeaderTimeout, time.Second: DefaultHeaderTimeout, 30 * time.Second: DefaultHeaderTimeout, 125 * time.Second: 120 * time.Second,
	} {
		config := Config{RequestTimeout: timeout}
		setDefaults(&config)
		if config.HeaderTimeout != want {
			t.Errorf("with %s for the request the header has %s, want %s", timeout, config.HeaderTimeout, want)
		}
	}
	config := Config{RequestTimeout: time.Minute, HeaderTimeout: time.Second}
	if setDefaults(&config); config.HeaderTimeout != time.Second {
		t.Errorf("a time-out that was given became %s", config.HeaderTimeout)
	}
}
