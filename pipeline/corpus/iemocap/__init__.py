"""The IEMOCAP release: its folders, ids, codes, raters, totals and alignments."""
