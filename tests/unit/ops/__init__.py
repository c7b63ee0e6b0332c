"""Tests of the operators' instruments; a package so that file names may repeat in other folders."""
