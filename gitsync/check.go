package gitsync

import "errors"

// Check lists everything that Open would find wrong with c, and the CAFile that
// its looks could not use, without a secret in any text. It asks nobody and
// changes nothing.
func (c Config) Check() error {
	_, err := c.validate()
	return errors.Join(err, c.transport().CheckFiles())
}

// Check is Config.Check for NewBoard.
func (c BoardConfig) Check() error {
	b, err := c.validate()
	return errors.Join(err, b.settings.transport().CheckFiles())
}
