#!/usr/bin/perl

# The agents that docs/agents.md shows a stranger: each stands there as it is in
# deploy/agents/snippets, runs, answers, answers a ping, and leaves at SIGTERM.

use warnings;
use strict;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::CorralAgent;
use Test::More;

my $agents = "$FindBin::Bin/../deploy/agents";
my $snippets = "$agents/snippets";
my $dir = tempdir(CLEANUP => 1);
my $page = slurp("$FindBin::Bin/../docs/agents.md");

subtest 'Python' => sub {
    shown('hello.py');
    talk(command => ['/usr/bin/python3', "$snippets/hello.py"]);
};

for my $listen (qw(unix tcp)) {
    subtest "Python with corral_agent.py, $listen" => sub {
        shown('hello_helper.py');
        talk(command => ['/usr/bin/python3',
            "$snippets/hello_helper.py"], listen => $listen,
            env => { PYTHONPATH => "$agents/common" });
    };
}

subtest 'Node' => sub {
    my $modules = node_modules()
        or plan(skip_all => 'node or ws is not installed');
    shown('hello.js');
    talk(command => ['node', "$snippets/hello.js"],
        env => { NODE_PATH => $modules });
};

subtest 'Go' => sub {
    plan(skip_all => 'go is not installed')
        if `go version 2>&1` !~ /^go version go1\.(\d+)/ || $1 < 21;
    system("cd $snippets/go && go mod download") == 0
        or plan(skip_all => 'the Go module of the snippet cannot be had');
    shown('go/hello.go');
    is(system("cd $snippets/go && go build -o $dir/hello-go ."), 0, 'builds');
    talk(command => ["$dir/hello-go"], listen => $_) for qw(unix tcp);
};

subtest 'C' => sub {
    is(system($ENV{CC} || 'cc', qw(-O2 -Wall -Wextra -Werror -o),
        "$dir/hello", "$snippets/hello.c", '-lcrypto'), 0, 'builds');
    talk(command => ["$dir/hello"]);
    like($page, qr{deploy/agents/snippets/hello\.c}, 'the page names it');
};

# the services that come with Corral, each by its own document

my $lock = tempdir(CLEANUP => 1);
require CPAN::Meta::YAML;
my $schema = unjson(scalar
    `$FindBin::Bin/../auto/schema --json`);
my %service = map { $_->[0] => $_ } @{$schema->{CORRAL_SERVICE_FIELDS}};
my %probe = map { $_->[0] => $_ } @{$schema->{CORRAL_PROBE_FIELDS}};

for my $file (sort glob "$agents/*/service.yaml") {
    my ($name) = $file =~ m{([\w-]+)/service\.yaml$};
    subtest "service $name" => sub {
        my $doc = CPAN::Meta::YAML->read($file)->[0];
        fields_ok($doc, \%service);
        fields_ok($doc->{$_}, \%probe)
            for grep { /_probe$/ } keys %$doc;
        is($doc->{name}, $name, 'name is that of the folder');

        my @command = map {
            s{^/usr/share/corral/agents}{$agents}r
            =~ s{^/usr/share/doc/corral$}{$FindBin::Bin/../docs}r
            =~ s{^/var/lib/corral/assistant}{$lock/assistant}r
        } @{$doc->{command}};
        if ($command[0] eq '/usr/lib/corral/bench-agent') {
            $command[0] = "$dir/bench-agent";
            is(system($ENV{CC} || 'cc', qw(-std=gnu11 -O1 -pthread -o),
                $command[0], glob "$agents/bench/bench[-_]*.c"), 0, 'builds');
        }
        if ($command[0] eq '/usr/bin/node' && !node_modules()) {
            plan(skip_all => 'node or ws is not installed');
        }
        $command[0] = 'node' if $command[0] eq '/usr/bin/node';

        my $a = Test::CorralAgent->new(command => \@command, listen =>
            $doc->{listen});
        for my $kind (qw(readiness_probe liveness_probe)) {
            my $p = $doc->{$kind} or next;
            if ($p->{type} eq 'http') {
                is(($a->http('GET', $p->{path}))[0], 200, "$kind passes");
            } else {
                my $ws = $a->ws(path => $p->{path});
                is($ws->{status}, 101, "$kind: handshake");
                ok(ponged($ws), "$kind: ping");
                $ws->shut();
            }
        }
        $a->stop_ok($name);
    };
}

done_testing();

###############################################################################

sub talk {
    my $a = Test::CorralAgent->new(listen => 'tcp', @_);
    my $ws = $a->ws(path => '/chat?x=1');
    is($ws->{status}, 101, 'handshake');
    for my $text ('hello', 'x' x 200, 'y' x 60000, "gr\xc3\xbc\xc3\x9fe") {
        $ws->text($text);
        is($ws->message() // '', "you said: $text", 'answered: '
            . substr $text, 0, 10);
    }
    ok(ponged($ws), 'ping answered');
    $ws->send(1, 8, pack('n', 1000));
    is($ws->close_code(), 1000, 'close answered');
    $ws->shut();
    $a->stop_ok();
    return $a;
}


sub ponged {
    my ($ws) = @_;
    $ws->send(1, 9, 'are you there');
    while (my $f = $ws->recv()) {
        return 1 if $f->{opcode} == 10 && $f->{data} eq 'are you there';
    }
    return 0;
}


sub shown {
    my ($file) = @_;
    (my $text = slurp("$snippets/$file")) =~ s/^#!.*\n//;
    ok(index($page, $text) >= 0, "$file stands in docs/agents.md as it is");
}


sub fields_ok {
    my ($doc, $table) = @_;

    for my $key (sort keys %$doc) {
        my $row = $table->{$key};
        ok($row, "$key is a field") or next;
        my (undef, $type, $owner, undef, $min, $max, $values) = @$row;
        my $v = $doc->{$key};
        isnt($owner, 'system', "$key may be given");
        is(ref $v, 'ARRAY', "$key is a list") if $type eq 'strings';
        is(ref $v, 'HASH', "$key is an object") if $type =~ /^(map|probe)$/;
        ok(grep({ $_ eq $v } split ' ', $values), "$key: \"$v\" is allowed")
            if $type eq 'enumerate';
        ok($v =~ /^\d+$/ && $v >= $min && $v <= $max, "$key: $v is in bounds")
            if $type eq 'integer';
        like($v, qr/^\d+(?:ms|s|m|h)?$/, "$key is a duration")
            if $type eq 'duration';
        like($v, qr/^(?:true|false)$/, "$key is a boolean")
            if $type eq 'boolean';
    }
    for my $row (values %$table) {
        ok(exists $doc->{$row->[0]}, "$row->[0] is given")
            if $row->[3] =~ /CORRAL_R\b/;
    }
}


sub slurp {
    my ($file) = @_;
    open my $fh, '<', $file or return '';
    local $/;
    return scalar <$fh>;
}
