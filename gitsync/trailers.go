package gitsync

// ApprovalsIn returns the values of the Prune-Approved trailers of one commit's
// message, as Repository.Approvals does for those of a range.
func ApprovalsIn(message string) []string { return approvals(message) }
