"""The services that Sluice is compared with: the same job, each written as its own people would."""
