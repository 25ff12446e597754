"""MNIST for Figures 6, 13 and beyond03: files, continuous images, models, measures."""
