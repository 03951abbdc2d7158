"""Tables of parcels: series, their columns and centres."""
