package network

func victim(string) {}
