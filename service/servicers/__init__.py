"""The methods of the API, one file for each service: decode, call, encode."""
