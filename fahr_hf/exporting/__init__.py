"""Models for other runtimes: a checkpoint as ONNX, OpenVINO or a torch program, and such a folder as a model again."""
