"""One page a run that a person reads: verdict, data, training, evaluation, photos, lineage."""
