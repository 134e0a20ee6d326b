"""Export of a run's classifier to other formats: raw pixels in, the probabilities of `cnncli predict` out."""
