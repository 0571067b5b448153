//! The Merkle tree hash of RFC 6962 section 2.1, computed leaf by leaf in logarithmic memory.

use cipher::mac::sha256;

/// A tree that grows to the right; it keeps one hash per complete subtree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// Height and hash of complete subtrees, from the left; heights fall.
    peaks: Vec<(u32, [u8; 32])>,
    leaves: u64,
}

impl Tree {
    /// Adds the next leaf.
    pub(crate) fn push(&mut self, leaf: &[u8]) {
        let mut subtree = (0, sha256(&[&[0], leaf]));
        while let Some(left) = self.peaks.pop_if(|peak| peak.0 == subtree.0) {
            subtree = (subtree.0 + 1, node(&left.1, &subtree.1));
        }
        self.peaks.push(subtree);
        self.leaves += 1;
    }

    /// How many leaves there are.
    pub(crate) fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root over all leaves so far; of no leaves, the hash of nothing.
    pub(crate) fn root(&self) -> [u8; 32] {
        let right_to_left = self.peaks.iter().rev().map(|peak| peak.1);
        right_to_left.reduce(|right, left| node(&left, &right)).unwrap_or_else(|| sha256(&[]))
    }

    /// Begins anew, keeping the allocation.
    pub(crate) fn clear(&mut self) {
        self.peaks.clear();
        self.leaves = 0;
    }
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256(&[&[1], left, right])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hex;

    /// Roots of the first eight trees over the leaves that the Certificate Transparency test suites use.
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        for (leaf, root) in leaves.into_iter().zip(roots) {
            tree.push(leaf);
            assert_eq!(Hex(tree.root().to_vec()).to_string(), root, "{} leaves", tree.leaves());
        }
    }

    #[test]
    fn a_leaf_is_never_taken_for_a_node() {
        let (mut two, mut one) = (Tree::default(), Tree::default());
        two.push(b"a");
        two.push(b"b");
        one.push(&[sha256(&[&[0], b"a"]), sha256(&[&[0], b"b"])].concat());
        assert_ne!(two.root(), one.root());
    }

    #[test]
    fn memory_grows_with_the_logarithm_of_the_leaves() {
        let mut tree = Tree::default();
        for number in 0..100_000_u64 {
            tree.push(&number.to_be_bytes());
        }
        assert!(tree.peaks.len() <= 17);
        tree.clear();
        assert_eq!(tree.root(), sha256(&[]));
    }
}
