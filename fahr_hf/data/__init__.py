"""From photos on a disk to what a training or an evaluation reads."""
