"""Items behind a small port: embedded (rocksdict) and MongoDB."""
