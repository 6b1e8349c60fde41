"""Weights of red, green and blue in the luminance of a picture."""

import numpy as np

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
