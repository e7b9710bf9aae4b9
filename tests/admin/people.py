"""People with a role, for the back office."""

from django.contrib.auth.models import Group, User


def given_person(role: str) -> User:
    """Add a member of the staff who has one role."""
    person, _ = User.objects.get_or_create(username=role.replace(" ", "-"), is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    return person
