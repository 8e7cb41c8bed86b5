package gitsync

// Check lists everything that Open would find wrong with c, without a secret
// in any text. It asks nobody and changes nothing.
func (c Config) Check() error {
	_, err := c.validate()
	return err
}
