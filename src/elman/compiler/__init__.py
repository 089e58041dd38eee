"""The compiler: a cell's program, its verifier, its backward program, its interpreter and its printers."""
