"""A PTX emulator: CUDA code checked without a GPU. docs/cuda.md says what it covers."""
