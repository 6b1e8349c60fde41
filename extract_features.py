"""Stage one: decode videos, store their features. See README.md; the work is in pipeline/."""

from pipeline.cli import extract

if __name__ == "__main__":
    extract()
