"""MNIST for Figures 6 and 13: its files, and images of bytes as continuous data."""
