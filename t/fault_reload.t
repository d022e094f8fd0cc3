#!/usr/bin/perl

# The fault matrix: nginx is reloaded ten times.  Nobody is affected: connections
# stay with the workers that have them, and these end with the last one.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

# the fault takes a while: it is to be over before they are all answered

$Test::Corral::Fault::BURST = 10;

my $f = Test::Corral::Fault->new();
my $t = $f->t();

$f->plan(15);
$f->begin();

###############################################################################

my @first = $t->workers();
my ($reloads, $served) = (0, 0);

$f->strike(sub { $reloads += $t->reload() });

# each reload leaves a client of its own behind

for (2 .. 10) {
    $f->connect(1);
    $f->pump();
    $reloads += $t->reload();
    $served += $f->serve(3);
}

is($reloads, 10, 'ten reloads');
is($served, 27, 'new clients after each');
$f->unharmed();
$f->lives('on old workers and new ones');

my @old = $t->workers(1);
cmp_ok(scalar @old, '>', 2, 'old workers of several configurations');
ok(scalar(grep { my $pid = $_; grep { $_ == $pid } @old } @first),
    'the first among them');

# one that holds nothing ends; those that are left say what they are

ok(wait_for(sub {
    my %rows = $f->rows();
    my %holds = map { $_->{worker} =~ /:(\d+):/ => 1 } values %rows;
    @old = $t->workers(1);
    return !grep { !$holds{$_} } @old;
}), 'each holds a client');
ok(wait_for(sub { @old == grep { $_->{state} eq 'exiting' }
    $f->s()->workers() }), 'and says that it is exiting');

$f->check('close');
ok(wait_for(sub { !$t->workers(1) }), 'without one they end');
ok(wait_for(sub { @{ $t->status()->{processes} } == 2 }),
    'and give their places back');

$f->finish();
