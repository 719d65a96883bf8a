"""What travels over HTTP: requests, schemas, the API's description."""
