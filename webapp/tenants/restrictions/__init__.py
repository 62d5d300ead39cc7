"""What operators restrict: blocks and a tenant's own limits."""
