package page

import (
	"context"
	"testing"
	"time"

	"github.com/sourcegraph/conc"
	"github.com/stretchr/testify/require"
)

func TestShared_WhatWasSeenBeforeItWasForgottenIsNotFresh(t *testing.T) {
	s := newShared[int](time.Hour)
	defer s.drops.Stop()
	began, end := make(chan struct{}), make(chan struct{})
	var group conc.WaitGroup
	group.Go(func() {
		_, _ = s.get(t.Context(), nil, func(context.Context, *int) int {
			close(began)
			<-end
			return 1
		})
	})
	<-began
	s.forget()
	close(end)
	group.Wait()
	for range 2 {
		got, err := s.get(t.Context(), nil, func(context.Context, *int) int { return 2 })
		require.NoError(t, err)
		require.Equal(t, 2, got)
	}
}
