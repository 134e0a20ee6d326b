"""Images in shards: tar files of WebDataset and Parquet files of Hugging Face, local or remote, read in place."""
