"""Training runs that outlive a session and use every device: `train`."""

from otlab.learning.checkpointing.train import train

__all__ = ["train"]
