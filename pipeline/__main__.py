"""`python -m pipeline`: the console program without installing it."""

from .cli import main

if __name__ == "__main__":
    main()
