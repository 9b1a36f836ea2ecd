"""Training runs that outlive a session and use every device: `train`."""

from otlab.flows.runs.loop import train

__all__ = ["train"]
