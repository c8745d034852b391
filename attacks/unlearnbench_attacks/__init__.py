"""The attacks that come with unlearnbench, one file each; they import `unlearnbench.api` only, as yours do."""
