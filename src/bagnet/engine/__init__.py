"""What runs a network: exact rewrites for speed, and three runtimes behind one protocol."""
