"""Tests of `cnncli.shards`."""
