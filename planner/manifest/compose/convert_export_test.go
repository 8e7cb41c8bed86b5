package compose

import (
	"testing"
	"testing/fstest"
)

// Row is a row of the tables of conversions, for the test that has package
// manifest read what comes out.
type Row struct {
	Name, Text string
	Files      fstest.MapFS
	Refused    bool
}

// Rows are those of all tables.
func Rows() []Row {
	var rows []Row
	for _, row := range allRows() {
		rows = append(rows, Row{row.name, row.compose(), repositoryOf(row.compose(), row.files), row.refuses()})
	}
	return rows
}

// ProjectNames are the projects of testdata with the file to read.
func ProjectNames(t *testing.T) map[string]string { return projectsOf(t) }
