"""One thin file a stage of dvc.yaml: read parameters, call pipeline, write outputs."""
