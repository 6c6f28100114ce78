"""Texts in: files and Hub data sets, labelled tasks, tokenised rows, and the planted benchmark."""
