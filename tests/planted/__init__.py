"""The project with one more version of orders.place, that tests break and mend as it runs."""
