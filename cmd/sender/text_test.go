package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCount_GroupsThousands(t *testing.T) {
	for n, text := range map[int64]string{0: "0", 12: "12", 999: "999", 1000: "1,000", 1204577: "1,204,577", -1234: "-1,234"} {
		require.Equal(t, text, count(n))
	}
	require.Equal(t, "1 id", plural(1, "id"))
	require.Equal(t, "2 ids", plural(2, "id"))
}

func TestShort_HasTwoUnits(t *testing.T) {
	for d, text := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 15 * time.Millisecond: "15ms", 5*time.Minute + 20*time.Second: "5m20s",
		3*time.Hour + 4*time.Minute + 5*time.Second: "3h4m", 55 * time.Hour: "2d7h",
	} {
		require.Equal(t, text, short(d))
	}
}

func TestParseTime_TakesTimesAndDurations(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-01-02T15:04:05Z":      time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
		"2026-01-02T15:04:05+02:00": time.Date(2026, 1, 2, 13, 4, 5, 0, time.UTC),
		"2026-01-02 15:04":          time.Date(2026, 1, 2, 15, 4, 0, 0, time.Local),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
		"2h":                        now.Add(-2 * time.Hour),
		"7d":                        now.Add(-7 * 24 * time.Hour),
	} {
		got, err := parseTime(text, now, -1)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%s is %s", text, got)
	}
	for _, text := range []string{"", "yesterday", "-2h", "2026-13-01", "12"} {
		_, err := parseTime(text, now, 1)
		require.Error(t, err, text)
	}
}
