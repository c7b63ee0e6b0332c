"""Tests of the nameserver; a package so that file names may repeat in other folders."""
