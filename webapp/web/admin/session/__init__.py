"""Who is signed in to the console, the cookies, and what stands before each page."""
