"""The engine: a cell's program as machine code. So far the forward step of one sequence, to stream without torch."""
