"""A feature and a kind of check for petsage-grpc."""
