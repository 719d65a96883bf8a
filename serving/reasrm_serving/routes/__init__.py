"""The routes, one file each; `app` lists them."""
