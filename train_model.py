"""Train a model on your own videos. See README.md; the work is in pipeline/training/."""

from pipeline.cli import train

if __name__ == "__main__":
    train()
