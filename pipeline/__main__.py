"""`python -m pipeline`: the console program without installing it."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
