"""Where the weights of networks are on this machine, and whether they are the right ones."""
