"""Few-shot neural talking heads (Zakharov et al., ICCV 2019): train, personalise, export, serve."""

__version__ = "0.2.0"
