"""Tools that every room uses: types, files that appear whole, run folders, digests."""
