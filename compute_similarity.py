"""Stage two: compare stored features, write JSON. See README.md; the work is in pipeline/."""

from pipeline.cli import compare

if __name__ == "__main__":
    compare()
