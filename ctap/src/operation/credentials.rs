//! Discoverable credentials on the key.

use super::error::{Feature, OperationError};
use super::prompt::Prompt;
use crate::commands::{Metadata, Permissions, StoredCredential, StoredRelyingParty};
use crate::key::Key;
use crate::pin_protocol::Token;

impl Key {
    /// Discoverable credentials by relying party, and the room left; asks for the PIN first.
    pub async fn list_credentials(
        &mut self,
        prompt: &Prompt,
    ) -> Result<(Metadata, Vec<(StoredRelyingParty, Vec<StoredCredential>)>), OperationError> {
        let token = self.credentials_token(prompt).await?;
        let metadata = self.credentials_metadata(&token).await?;
        let mut all = Vec::new();
        for party in self.stored_relying_parties(&token).await? {
            let credentials = self.stored_credentials(&token, &party.id_hash).await?;
            all.push((party, credentials));
        }
        Ok((metadata, all))
    }

    /// Deletes a discoverable credential; asks for the PIN first.
    pub async fn remove_credential(
        &mut self,
        id: &[u8],
        prompt: &Prompt,
    ) -> Result<(), OperationError> {
        let token = self.credentials_token(prompt).await?;
        Ok(self.delete_credential(&token, id).await?)
    }

    async fn credentials_token(&mut self, prompt: &Prompt) -> Result<Token, OperationError> {
        let options = &self.info().options;
        if options.credential_management != Some(true)
            && options.credential_management_preview != Some(true)
        {
            return Err(OperationError::Unsupported(Feature::CredentialManagement));
        }
        self.management_token(Permissions::CREDENTIAL_MANAGEMENT, prompt).await
    }
}
