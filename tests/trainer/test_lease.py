"""The lease on the models topic: who lost it stands by before taking it again."""

from recstream.trainer.lease import EmbeddedLease


def test_a_trainer_whose_membership_expired_stands_by_before_it_leads_again(world):
    lease = EmbeddedLease(world.log, "a")
    assert lease.hold()
    lease._member.leave()  # as the log does with a member that is silent for too long
    other = EmbeddedLease(world.log, "b")
    assert other.hold()
    other.release()

    assert not lease.hold()
    assert lease.hold()
