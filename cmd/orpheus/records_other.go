//go:build !linux

package main

import (
	"context"
	"errors"
)

func hasAgentConfig() bool { return false }

func readConfigured(context.Context, string, wantedRecords) (recordStore, recordPlace, error) {
	return nil, recordPlace{}, usageError(errors.New("agents run on Linux only: name the records with --repository or --records instead of --config"))
}
