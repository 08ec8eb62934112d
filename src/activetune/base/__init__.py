"""What every room stands on: errors, settings, files, fingerprints, progress, devices."""
